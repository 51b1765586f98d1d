"""What schemathesis is to send as a component: none of these is one that can be deployed."""

import schemathesis
from hypothesis import strategies

EMPTY_MODULE = b"\0asm\1\0\0\0"
EMPTY_COMPONENT = b"\0asm\x0d\0\1\0"

schemathesis.openapi.media_type(
    "application/wasm",
    strategies.one_of(
        strategies.sampled_from([b"", EMPTY_MODULE, EMPTY_COMPONENT, EMPTY_COMPONENT[:5]]),
        strategies.binary(max_size=64),
        strategies.binary(max_size=64).map(EMPTY_COMPONENT.__add__),
    ),
)
