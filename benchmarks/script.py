"""What one would write by hand instead of a queue: OpenAI's SDK, a preview by Pillow, boto3. A program of its own.

It makes images when it is told to on its standard input: a line `COUNT AT_ONCE` asks for so many, at most so many calls
at once; with 1 at once it is the plain script that does one after the other. It answers with a line of JSON: the
seconds of the whole, and the milliseconds of each image. It ends with its input. Keys and OpenAI's address come from
the environment, as the SDKs read them.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import boto3
from botocore.config import Config
from openai import AsyncOpenAI, OpenAI
from PIL import Image

THREADS: Final = 16
"""That store images: more than the cores, because most of the time is S3's."""


class Script:
    """The clients, made once."""

    def __init__(self, endpoint: str, bucket: str, size: str) -> None:
        config = Config(max_pool_connections=THREADS)
        self._s3: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)  # pyright: ignore[reportUnknownMemberType]
        self._bucket = bucket
        self._order: dict[str, Any] = {"model": "gpt-image-2", "size": size, "quality": "low", "output_format": "png"}

    def in_sequence(self, client: OpenAI, count: int) -> list[float]:
        """One image after the other."""
        return [self._one(client, number) for number in range(count)]

    async def at_once(self, count: int, width: int) -> list[float]:
        """All images, at most `width` calls at once; an image is stored while the next call is made."""
        gate = asyncio.Semaphore(width)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        async with AsyncOpenAI(max_retries=0) as client:
            return await asyncio.gather(*(self._one_of_many(client, gate, number) for number in range(count)))

    def _one(self, client: OpenAI, number: int) -> float:
        started = time.perf_counter()
        images: Any = client.images
        answer = images.generate(prompt=f"image {number}", **self._order)
        self._store(number, answer.data[0].b64_json)
        return (time.perf_counter() - started) * 1000

    async def _one_of_many(self, client: AsyncOpenAI, gate: asyncio.Semaphore, number: int) -> float:
        started = time.perf_counter()
        images: Any = client.images
        async with gate:
            answer = await images.generate(prompt=f"image {number}", **self._order)
            encoded: str = answer.data[0].b64_json
            del answer
        await asyncio.to_thread(self._store, number, encoded)
        return (time.perf_counter() - started) * 1000

    def _store(self, number: int, encoded: str) -> None:
        body, preview = base64.b64decode(encoded), io.BytesIO()
        with Image.open(io.BytesIO(body)) as image:
            image.thumbnail((768, 768), Image.Resampling.HAMMING)
            image.save(preview, "JPEG", quality=80)
        self._put(f"script/{number}.png", body, "image/png")
        self._put(f"script/{number}.jpg", preview.getvalue(), "image/jpeg")

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)


def main() -> None:
    """Do what the input asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--endpoint", "--bucket", "--size"):
        parser.add_argument(name, required=True)
    script = Script(**vars(parser.parse_args()))
    client = OpenAI(max_retries=0)
    for line in sys.stdin:
        count, width = map(int, line.split())
        started = time.perf_counter()
        each = script.in_sequence(client, count) if width == 1 else asyncio.run(script.at_once(count, width))
        print(json.dumps({"seconds": time.perf_counter() - started, "milliseconds": each}), flush=True)


if __name__ == "__main__":
    main()
