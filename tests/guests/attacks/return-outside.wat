(module ;; Replies with bytes past the end of the memory.
  (memory (export "memory") 100)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 65536))
  (func (export "parlance:chat/on-event@0.1.0#handle")
    (param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32) (result i32)
    ;; ok(some(text)) at 0.
    (i32.store (i32.const 4) (i32.const 1))
    (i32.store (i32.const 8) (i32.const 65536))
    (i32.store (i32.const 12) (i32.const 4294967295))
    (i32.const 0)))
