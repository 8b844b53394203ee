;; Lets an operation fail, and names a million bytes as the source line.
;; Must: the step fails with a message of a readable length.
(func $loss (param $instance i32) (result i64)
  (drop (memory.grow (i32.const 32)))
  (memory.fill (i32.const 131072) (i32.const 65) (i32.const 1000000))
  (drop (call $op (i32.const 41) (i32.const 0) (i32.const 0)))
  (call $call (i32.const 15) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 131072) (i32.const 1000000)))
