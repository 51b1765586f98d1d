(component ;; Imports HTTP, which only a grant gives.
  (import "wasi:http/outgoing-handler@0.2.0" (instance)))
