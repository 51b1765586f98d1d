(component ;; Exports an interface of a version that there is not.
  (instance $i)
  (export "parlance:chat/on-event@0.2.0" (instance $i)))
