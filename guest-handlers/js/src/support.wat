;; Takes the place of WASI, and of the module loader, for the QuickJS runtime: `runtime.rs` makes its imports of these
;; functions of `env`. What is not here traps. A component has no WASI, so an event can reach none of it.
(module
  (@dylink.0 (mem-info))
  (import "env" "memory" (memory 0))
  (import "parlance:chat/settings@0.1.0" "get" (func $get (param i32 i32 i32)))

  ;; The engine asks for these when it starts, which it does while the component is built. They are the same each time,
  ;; so that the same sources give the same bytes.
  (func (export "wasi:clocks/monotonic-clock@0.2.0#now") (result i64) i64.const 0)
  (func (export "wasi:clocks/wall-clock@0.2.0#now") (param $result i32)
    (i64.store (local.get $result) (i64.const 0))
    (i32.store offset=8 (local.get $result) (i32.const 0)))
  (func (export "wasi:random/insecure-seed@0.2.9#insecure-seed") (param $result i32)
    (i64.store (local.get $result) (i64.const 0))
    (i64.store offset=8 (local.get $result) (i64.const 0)))
  (func (export "wasi:cli/environment@0.2.0#get-environment") (param $result i32)
    (i64.store align=4 (local.get $result) (i64.const 0)))
  (func (export "wasi:filesystem/preopens@0.2.0#get-directories") (param $result i32)
    (i64.store align=4 (local.get $result) (i64.const 0)))
  (func (export "wasi_snapshot_preview1#reset_adapter_state"))

  ;; While the component is built, `settings.get` is the module loader: asked for a module's name, it gives the code.
  ;; Asked for an empty name, for the importing module's and for the specifier, it gives the imported module's name.
  (func $load (param $name i32) (param $length i32) (param $result i32)
    (call $get (local.get $name) (local.get $length) (local.get $result))
    ;; The option that it returns has the layout of the result that the engine expects, with some = 1 and ok = 0.
    (if (i32.load8_u (local.get $result))
      (then (i32.store8 (local.get $result) (i32.const 0)))
      (else
        (i32.store8 (local.get $result) (i32.const 1))
        ;; An error with an empty text.
        (i32.store offset=4 (local.get $result) (i32.const 1))
        (i32.store offset=8 (local.get $result) (i32.const 0)))))
  (func (export "local:init/module-loader#load") (param i32 i32 i32)
    (call $load (local.get 0) (local.get 1) (local.get 2)))
  (func (export "local:init/module-loader#resolve") (param i32 i32 i32 i32 i32)
    (call $get (i32.const 0) (i32.const 0) (local.get 4))
    (call $get (local.get 0) (local.get 1) (local.get 4))
    (call $load (local.get 2) (local.get 3) (local.get 4))))
