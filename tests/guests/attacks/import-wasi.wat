(component ;; Imports an interface of WASI that the host does not have.
  (import "wasi:keyvalue/store@0.2.0" (instance (export "open" (func)))))
