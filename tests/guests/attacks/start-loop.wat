(module ;; A loop without end, when it is instantiated.
  (start $begin)
  (func $begin (loop (br 0)))
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 65536))
  (func (export "parlance:chat/on-event@0.1.0#handle")
    (param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 0)))
