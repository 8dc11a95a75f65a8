"""What the conformance suite's scenarios call to be asked something, and to see that they are not asked too much.

Up to 2025-11-25 a server asks by a request of its own, which needs a session. From 2026-07-28 on its answer is the
question, and the client calls again with what it was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from conformance_content import STEP_SECONDS
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY, InputRequest

Round = Mapping[str, InputRequest]
Asking = Callable[[Context], Coroutine[Any, Any, str | InputRequiredResult]]
CHOICES: Final = ("option1", "option2", "option3")
TITLED: Final = [{"const": f"value{n}", "title": f"{nth} Option"} for n, nth in enumerate(("First", "Second"), 1)]


def schema(*required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """A form's schema."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def form(message: str, *required: str, **properties: dict[str, Any]) -> ElicitRequest:
    """A question to the user."""
    params = ElicitRequestFormParams(message=message, requested_schema=schema(*required, **properties))
    return ElicitRequest(params=params)


def sampling(prompt: str, most: int) -> CreateMessageRequest:
    """A question to the client's model."""
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[said(prompt)], max_tokens=most))


def said(text: str) -> SamplingMessage:
    """What a user says to a model."""
    return SamplingMessage(role="user", content=TextContent(text=text))


TEXT: Final = {"type": "string"}
NAME: Final = form("What is your name?", "name", name=TEXT)
CONFIRM: Final = form("Please confirm", "ok", ok={"type": "boolean"})
ROUNDS: Final[dict[str, tuple[Round, ...]]] = {
    "test_input_required_result_elicitation": ({"user_name": NAME},),
    "test_input_required_result_sampling": ({"capital_question": sampling("What is the capital of France?", 100)},),
    "test_input_required_result_list_roots": ({"client_roots": ListRootsRequest()},),
    "test_input_required_result_request_state": ({"confirm": CONFIRM},),
    "test_input_required_result_tampered_state": ({"confirm": CONFIRM},),
    "test_input_required_result_multiple_inputs": (
        {"user_name": NAME, "greeting": sampling("Generate a greeting", 50), "client_roots": ListRootsRequest()},
    ),
    "test_input_required_result_multi_round": (
        {"step1": form("Step 1: What is your name?", "name", name=TEXT)},
        {"step2": form("Step 2: What is your favorite color?", "color", color=TEXT)},
    ),
    "test_input_required_result_capabilities": ({"user_name": NAME, "greeting": sampling("Generate a greeting", 50)},),
    "test_streaming_elicitation": ({"user_name": NAME},),
}
"""What each tool asks, round by round."""


def add_questions(server: MCPServer[Any]) -> None:
    """Let `server` ask, log, and tell of changes."""
    for name, rounds in ROUNDS.items():
        server.add_tool(asking(rounds), name=name, description="Asks before it answers.")
    context = ({"user_context": form("What context should the prompt use?", "context", context=TEXT)},)
    server.prompt(name="test_input_required_result_prompt", description="Asks before it answers.")(asking(context))
    for tool in (
        test_sampling,
        test_elicitation,
        test_elicitation_sep1034_defaults,
        test_elicitation_sep1330_enums,
        test_missing_capability,
        test_tool_with_logging,
        test_trigger_tool_change,
        test_trigger_prompt_change,
        test_reconnection,
    ):
        server.add_tool(tool)
    server.add_tool(test_tool_with_logging, name="test_logging_tool")


def asking(rounds: tuple[Round, ...]) -> Asking:
    """What asks round after round, only for what the client can do, and answers with all of the last one's answers.

    The number of the round is the state that the client has to bring back.
    """

    async def ask(ctx: Context) -> str | InputRequiredResult:
        current = int(ctx.request_state or 0)
        answers = ctx.input_responses or {}
        if wanted(rounds[current], ctx).keys() <= answers.keys():
            current += 1
        if current < len(rounds):
            return InputRequiredResult(input_requests=wanted(rounds[current], ctx), request_state=str(current))
        told = ", ".join(f"{key}: {answers[key].model_dump_json()}" for key in rounds[-1])
        return f"state-ok. {told}"

    return ask


def wanted(requests: Round, ctx: Context) -> dict[str, InputRequest]:
    """Those of the requests that the client declared itself capable of."""
    can = ctx.client_capabilities
    able = {
        "elicitation/create": can and can.elicitation is not None,
        "sampling/createMessage": can and can.sampling is not None,
        "roots/list": can and can.roots is not None,
    }
    return {key: request for key, request in requests.items() if able[request.method]}


async def test_sampling(prompt: str, ctx: Context) -> str:
    """Ask the client's model."""
    request = ctx.session.create_message([said(prompt)], max_tokens=100, related_request_id=ctx.request_id)  # pyright: ignore[reportDeprecated]
    return f"LLM response: {(await request).model_dump_json()}"


async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user."""
    return await elicited(ctx, message, schema("username", "email", username=TEXT, email=TEXT))


async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask the user with a default of each type."""
    asked = schema(
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        verified={"type": "boolean", "default": True},
    )
    return await elicited(ctx, "Who are you?", asked)


async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask the user to choose, in each way that a choice can be written."""
    names = ["Option One", "Option Two", "Option Three"]
    asked = schema(
        untitledSingle={"type": "string", "enum": list(CHOICES)},
        titledSingle={"type": "string", "oneOf": TITLED},
        legacyEnum={"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": names},
        untitledMulti={"type": "array", "items": {"type": "string", "enum": list(CHOICES)}},
        titledMulti={"type": "array", "items": {"anyOf": TITLED}},
    )
    return await elicited(ctx, "What do you choose?", asked)


async def elicited(ctx: Context, message: str, asked: dict[str, Any]) -> str:
    """What the user answered."""
    answer = await ctx.session.elicit_form(message, asked, related_request_id=ctx.request_id)
    return f"Elicitation completed: action={answer.action}, content={answer.content}"


async def test_missing_capability(ctx: Context) -> str:
    """Refuse a client that declared no sampling."""
    declared = ctx.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY, "This needs sampling.", {"requiredCapabilities": {"sampling": {}}}
        )
    return "You can."


async def test_tool_with_logging(ctx: Context) -> str:
    """Log three times."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.log("info", message)  # pyright: ignore[reportDeprecated]
        await asyncio.sleep(STEP_SECONDS)
    return "Done."


async def test_trigger_tool_change(ctx: Context) -> str:
    """Tell who listens that the tools changed."""
    await ctx.notify_tools_changed()
    return "Told."


async def test_trigger_prompt_change(ctx: Context) -> str:
    """Tell who listens that the prompts changed."""
    await ctx.notify_prompts_changed()
    return "Told."


async def test_reconnection(ctx: Context) -> str:
    """Close the answer's stream on the way, which a bridge without a store of events does not."""
    await ctx.close_sse_stream()
    return "Done."
