(component ;; Two memories of 9 MiB: each is within the limit, both together are not.
  (core module $m
    (memory 1)
    (start $begin)
    (func $begin (if (i32.eq (memory.grow (i32.const 150)) (i32.const -1)) (then (unreachable))))
    (func (export "handle")))
  (core instance $c (instantiate $m))
  (core instance (instantiate $m))
  ;; Other types than the host calls: what is not refused for its memory is refused for that.
  (func $handle (canon lift (core func $c "handle")))
  (instance $i (export "handle" (func $handle)))
  (export "parlance:chat/on-event@0.1.0" (instance $i)))
