// A job that takes longer than the official TypeScript client waits for an answer, 60 s unless told otherwise.
//
//   node slow_job.mjs --bridge .venv/bin/imagequeue-mcp --sandbox http://127.0.0.1:8090 --seconds 90
//
// asks the bridge for an image, on stdio, and the sandbox behind it to take so long for it; then calls wait_for_jobs
// until the image is there. Prints what each call brought, and when, as JSON. --timeout: milliseconds that the client
// waits for an answer; --progress: the client wants progress, and each one sets its clock back.
import { parseArgs } from "node:util";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const { values: asked } = parseArgs({
  options: {
    bridge: { type: "string" },
    sandbox: { type: "string" },
    seconds: { type: "string" },
    prompt: { type: "string", default: `A slow boat, number ${process.pid}` },
    timeout: { type: "string" },
    progress: { type: "boolean", default: false },
  },
});

async function slowDown() {
  const fault = { fault: { delay: Number(asked.seconds) }, match: { prompt_contains: asked.prompt } };
  const told = await fetch(`${asked.sandbox}/sandbox/faults`, { method: "POST", body: JSON.stringify(fault) });
  if (!told.ok) throw new Error(`The sandbox refused: ${await told.text()}`);
}

function options(progress) {
  return {
    ...(asked.timeout && { timeout: Number(asked.timeout) }),
    ...(asked.progress && { resetTimeoutOnProgress: true, onprogress: ({ message }) => progress.push(message) }),
  };
}

const seconds = (since) => Math.round(performance.now() - since) / 1000;

async function call(client, tool, args) {
  const started = performance.now();
  const progress = [];
  const answer = await client.callTool({ name: tool, arguments: args }, undefined, options(progress));
  const { isError, content, structuredContent } = answer;
  if (isError) throw new Error(content[0].text);
  const { job_id, status, images, notes } = structuredContent.jobs?.[0] ?? structuredContent;
  const pictures = content.filter((block) => block.type === "image").map((block) => block.mimeType);
  const files = images.map((image) => image.file_path);
  return { tool, seconds: seconds(started), status, job_id, pictures, files, notes, progress };
}

const client = new Client({ name: "slow-job", version: "1" });
await slowDown();
await client.connect(new StdioClientTransport({ command: asked.bridge, env: process.env }));
const started = performance.now();
const calls = [await call(client, "generate_image", { prompt: asked.prompt, quality: "low" })];
while (calls.at(-1).status === "running") {
  calls.push(await call(client, "wait_for_jobs", { job_ids: [calls[0].job_id] }));
}
console.log(JSON.stringify({ seconds: seconds(started), calls }, null, 2));
await client.close();
