;; Gives operations no attributes where they need one, six dimensions, and a million numbers.
;; Must: the step fails and says what is wrong with the attributes.
(func $loss (param $instance i32) (result i64)
  (local $code i32) (local $count i32)
  (drop (memory.grow (i32.const 128)))
  (local.set $code (i32.const 61)) ;; sum_dim
  (if (i32.eq (global.get $n) (i32.const 1)) (then
    (local.set $code (i32.const 82)) ;; reshape
    (local.set $count (i32.const 6))))
  (if (i32.eq (global.get $n) (i32.const 2)) (then
    (local.set $code (i32.const 27)) ;; mul_scalar
    (local.set $count (i32.const 1000000))))
  (if (i32.eq (global.get $n) (i32.const 3)) (then
    (local.set $code (i32.const 3)) ;; param
    (local.set $count (i32.const 1000000))))
  (call $arg (i32.const 0) (call $input (i32.const 1024)))
  (call $sum (call $op (local.get $code) (i32.const 1) (local.get $count))))
