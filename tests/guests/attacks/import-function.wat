(component ;; Imports a function that is in no interface.
  (import "run" (func)))
