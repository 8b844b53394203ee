;; Describes itself by 200 MB of blanks.
;; Must: it is refused, and the host doesn't take several times as much for it.
(func $describe (result i32)
  (drop (memory.grow (i32.const 3200)))
  (memory.fill (i32.const 131072) (i32.const 32) (i32.const 200000000))
  (i32.store (i32.const 8) (i32.const 131072))
  (i32.store (i32.const 12) (i32.const 200000000))
  (i32.const 8))
