;; Grows its memory without end, and writes to all of it.
;; Must: the component is stopped at the limit of its memory.
(func $loss (param $instance i32) (result i64)
  (local $page i32)
  (loop $more
    (local.set $page (memory.grow (i32.const 256)))
    (memory.fill (i32.shl (local.get $page) (i32.const 16)) (i32.const 1) (i32.const 0x1000000))
    (br $more))
  (unreachable))
