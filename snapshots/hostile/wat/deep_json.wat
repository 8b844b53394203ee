;; Describes itself by a million opening brackets.
;; Must: it is refused; the host's stack holds.
(func $describe (result i32)
  (drop (memory.grow (i32.const 32)))
  (memory.fill (i32.const 131072) (i32.const 91) (i32.const 1000000))
  (i32.store (i32.const 8) (i32.const 131072))
  (i32.store (i32.const 12) (i32.const 1000000))
  (i32.const 8))
