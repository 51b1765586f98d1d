(module ;; Emits half a million attachments, each of them empty: 4 MB of addresses and lengths.
  (import "parlance:chat/broadcast@0.1.0" "emit"
    (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 100)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 65536))
  (func (export "parlance:chat/on-event@0.1.0#handle")
    (param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32) (result i32)
    ;; To the sender (3): 0 bytes of arguments, 500000 attachments.
    (call $emit (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 500000) (i32.const 1024))
    (i32.const 0)))
