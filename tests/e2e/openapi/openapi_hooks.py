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

# Lines of exports: the first is right, wrong or missing, and others follow.
HEADER = b'{"format":"parlance-export","version":1,"tenant":"a","exportedAt":1}\n'
END = b'{"end":{"rooms":0,"messages":0,"marks":0,"receipts":0,"keys":0}}\n'

schemathesis.openapi.media_type(
    "application/x-ndjson",
    strategies.one_of(
        strategies.sampled_from([b"", HEADER, END, HEADER + END, HEADER + b"{}\n" + END]),
        strategies.binary(max_size=64).map(HEADER.__add__),
    ),
)
