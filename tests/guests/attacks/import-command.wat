(component ;; Imports an interface of WASI that programs export.
  (import "wasi:cli/run@0.2.0" (instance (export "run" (func)))))
