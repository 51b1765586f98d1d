(module ;; A memory of 125 MiB from the beginning.
  (memory (export "memory") 2000)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 65536))
  (func (export "parlance:chat/on-event@0.1.0#handle")
    (param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 0)))
