(component ;; Imports an interface of a version that there is not.
  (import "parlance:chat/ambient@0.2.0"
    (instance (export "now-ms" (func (result u64))))))
