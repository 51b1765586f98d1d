(component ;; Imports an interface under the host's own name that there is not.
  (import "parlance:chat/shell@0.1.0" (instance (export "run" (func)))))
