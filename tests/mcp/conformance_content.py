"""What the conformance suite's scenarios call by name: tools, resources and prompts that answer as each one prescribes.

None of it touches the queue. What it proves is everything around it: the bridge's server, transport, security, wiring.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import wave
from typing import Annotated, Any, Final

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp.server.mcpserver.tools import Tool
from mcp.types import (
    AudioContent,
    Completion,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from picture_kit import png
from pydantic import Field

STEP_SECONDS: Final = 0.05
"""Between two messages of one call, as the scenarios prescribe."""
SCHEMA_2020_12: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def add_content(server: MCPServer[Any]) -> None:
    """Let `server` answer the scenarios of content, progress, logging, resources, prompts and completion."""
    for tool in (
        test_simple_text,
        test_image_content,
        test_audio_content,
        test_embedded_resource,
        test_multiple_content_types,
        test_error_handling,
        test_tool_with_progress,
        test_custom_header,
    ):
        server.add_tool(tool)
    for resource in (
        ("test://static-text", "text/plain", static_text),
        ("test://static-binary", "image/png", static_binary),
        ("test://watched-resource", "text/plain", static_text),
        ("test://template/{id}/data", "application/json", template),
    ):
        uri, mime_type, read = resource
        server.resource(uri, mime_type=mime_type, name=uri, description="For the conformance suite.")(read)
    for prompt in (test_simple_prompt, test_prompt_with_arguments, test_prompt_with_embedded_resource):
        server.prompt()(prompt)
    server.prompt()(test_prompt_with_image)
    server.completion()(complete)


def json_schema_tool() -> Tool:
    """A tool whose schema has what only JSON Schema 2020-12 has."""
    tool = Tool.from_function(test_simple_text, name="json_schema_2020_12_tool")
    return tool.model_copy(update={"parameters": SCHEMA_2020_12})


def test_simple_text() -> str:
    """A text."""
    return "This is a simple text response for testing."


def image() -> ImageContent:
    """A small picture."""
    return ImageContent(data=base64.b64encode(png()).decode(), mime_type="image/png")


def test_image_content() -> list[ImageContent]:
    """An image."""
    return [image()]


def test_audio_content() -> list[AudioContent]:
    """A moment of silence."""
    sound = io.BytesIO()
    with wave.open(sound, "wb") as written:
        written.setparams((1, 1, 8_000, 1, "NONE", ""))
        written.writeframes(b"\x80")
    return [AudioContent(data=base64.b64encode(sound.getvalue()).decode(), mime_type="audio/wav")]


def embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    """A resource within an answer."""
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def test_embedded_resource() -> list[EmbeddedResource]:
    """A resource."""
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Text, image and resource."""
    mixed = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return [TextContent(text="Multiple content types test:"), image(), mixed]


def test_error_handling() -> str:
    """Nothing but an error."""
    raise ToolError("This tool intentionally returns an error for testing")


async def test_tool_with_progress(ctx: Context) -> str:
    """Progress in three steps."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(STEP_SECONDS)
    return "Done."


def test_custom_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """An argument that a header has to repeat."""
    return region


def static_text() -> str:
    """A text that never changes."""
    return "This is the content of the static text resource."


def static_binary() -> bytes:
    """A picture that never changes."""
    return png()


def template(id: str) -> str:
    """What the URI's parameter becomes."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def test_simple_prompt() -> str:
    """A prompt."""
    return "This is a simple prompt for testing."


def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
    """A prompt with a resource in it."""
    resource = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]


def test_prompt_with_image() -> list[Message]:
    """A prompt with an image in it."""
    return [UserMessage(image()), UserMessage("Please analyze the image above.")]


async def complete(ref: object, argument: object, context: object) -> Completion:
    """No proposals, which is an answer."""
    return Completion(values=[])
