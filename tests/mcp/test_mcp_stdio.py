"""A real MCP client against the real bridge process, over stdio."""

from __future__ import annotations

import asyncio

from fleet_kit import Fleet
from mcp import Client
from mcp.client.stdio import StdioServerParameters


def test_x(working_fleet: Fleet) -> None:
    async def go() -> None:
        program = str(__import__("pathlib").Path(__import__("sys").executable).with_name("imagequeue-mcp"))
        params = StdioServerParameters(command=program, env=working_fleet.environment)
        async with Client(params) as client:
            tools = await client.list_tools()
            print(tools.model_dump_json(indent=1, exclude_none=True)[:3000])
            async def prog(p, t, m): print("PROGRESS", p, t, m)
            r = await client.call_tool("generate_image", {"prompt": "A lighthouse", "quality": "low", "n": 2}, progress_callback=prog)
            for c in r.content: print(str(c)[:700])
            print(r.structured_content)
            r = await client.call_tool("generate_image", {"promt": "A lighthouse", "qualty": "low"})
            print(r)
    asyncio.run(go())
