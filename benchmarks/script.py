"""What one would write by hand instead: OpenAI SDK, Pillow preview, boto3, in an asyncio script without a queue."""

from __future__ import annotations

import asyncio
import base64
import io

from openai import AsyncOpenAI
from PIL import Image

from imagequeue.objects import ObjectStore

SIZE = "1024x1024"


async def one_image(client: AsyncOpenAI, objects: ObjectStore, gate: asyncio.Semaphore, prompt: str) -> None:
    """Generate, preview, store."""
    async with gate:
        answer = await client.images.generate(
            model="gpt-image-2", prompt=prompt, size=SIZE, quality="low", output_format="jpeg"
        )
        encoded = answer.data[0].b64_json if answer.data else None
        assert encoded
        await asyncio.to_thread(_store, objects, base64.b64decode(encoded), prompt)


def _store(objects: ObjectStore, body: bytes, prompt: str) -> None:
    preview = io.BytesIO()
    with Image.open(io.BytesIO(body)) as image:
        image.thumbnail((768, 768))
        image.save(preview, "WEBP", quality=80, method=2)
    key = f"script/{prompt}"
    objects.put_bytes(f"{key}.jpg", body, content_type="image/jpeg", filename="image.jpg")
    objects.put_bytes(f"{key}.webp", preview.getvalue(), content_type="image/webp", filename="preview.webp")


async def many_images(client: AsyncOpenAI, objects: ObjectStore, prompts: list[str], at_once: int) -> None:
    """All prompts, `at_once` at a time."""
    gate = asyncio.Semaphore(at_once)
    await asyncio.gather(*(one_image(client, objects, gate, prompt) for prompt in prompts))
