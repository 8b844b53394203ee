;; Says that its description lies beyond its memory.
;; Must: the component is stopped.
(func $describe (result i32)
  (i32.store (i32.const 8) (i32.const 250000))
  (i32.store (i32.const 12) (i32.const 100000))
  (i32.const 8))
