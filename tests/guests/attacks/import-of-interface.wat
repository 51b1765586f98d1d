(component ;; Imports a function that the host's interface does not have.
  (import "parlance:chat/kv@0.1.0" (instance (export "drop-all" (func)))))
