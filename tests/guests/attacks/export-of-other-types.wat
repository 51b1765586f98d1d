(component ;; Exports a handler with other types than the host calls.
  (core module $m (func (export "handle") (param i32) (result i32) (local.get 0)))
  (core instance $c (instantiate $m))
  (func $handle (param "x" u32) (result u32) (canon lift (core func $c "handle")))
  (instance $i (export "handle" (func $handle)))
  (export "parlance:chat/on-event@0.1.0" (instance $i)))
