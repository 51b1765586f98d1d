(module ;; Grows its memory for as long as it may.
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 65536))
  (func (export "parlance:chat/on-event@0.1.0#handle")
    (param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32) (result i32)
    (loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (unreachable)))
