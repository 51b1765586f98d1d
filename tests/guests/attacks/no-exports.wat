(component) ;; Exports nothing.
