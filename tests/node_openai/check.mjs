// OpenAI's official TypeScript SDK, unmodified, against the API at IMAGEQUEUE_API_URL.
// `node check.mjs all PROMPT IMAGE MASK` prints what came of each call as JSON; `node check.mjs retried PROMPT` what
// came of one call that times out and is sent again by the SDK.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import OpenAI from "openai";

const [mode, prompt, image, mask] = process.argv.slice(2);
const small = { quality: "low", size: "1024x1024", output_format: "jpeg" };
const baseURL = `${process.env.IMAGEQUEUE_API_URL}/v1`;
const digest = (encoded) => createHash("sha256").update(Buffer.from(encoded, "base64")).digest("hex");

async function failure(call) {
  try {
    for await (const _ of await call()) {
      // A stream tells of its failure while it is read.
    }
    return { name: "none" };
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null, code: error.code, param: error.param };
  }
}

async function all() {
  const { images, models } = new OpenAI({ baseURL, apiKey: "any" });
  const generated = await images.generate({ prompt: `${prompt} generated`, ...small });
  const edited = await images.edit({
    prompt: `${prompt} edited`,
    image: createReadStream(image),
    mask: createReadStream(mask),
    ...small,
  });
  const events = [];
  const stream = await images.generate({ prompt: `${prompt} streamed`, stream: true, partial_images: 2, ...small });
  for await (const event of stream) {
    events.push({ type: event.type, sha256: digest(event.b64_json) });
  }
  return {
    generated: digest(generated.data[0].b64_json),
    usage: generated.usage,
    edited: digest(edited.data[0].b64_json),
    events,
    models: (await models.list()).data.map((model) => model.id),
    size: await failure(() => images.generate({ prompt, ...small, size: "1000x1000" })),
    unknown: await failure(() => images.generate({ prompt, ...small, style: "vivid" })),
    model: await failure(() => images.generate({ prompt, ...small, model: "dall-e-3" })),
    moderation: await failure(() => images.generate({ prompt: "FORBIDDEN by Node", ...small })),
    streamed_moderation: await failure(() => images.generate({ prompt: "FORBIDDEN by Node", stream: true, ...small })),
  };
}

async function retried() {
  const { images } = new OpenAI({ baseURL, apiKey: "any", timeout: 1500, maxRetries: 2 });
  const answer = await images.generate({ prompt });
  return { images: answer.data.length };
}

console.log(JSON.stringify(await (mode === "all" ? all() : retried())));
