;; Gives integers where floats are needed, floats where integers are, and a fact where a tensor is.
;; Must: the step fails and says which operand is of the wrong kind.
(data (i32.const 1056) "epoch")
(func $loss (param $instance i32) (result i64)
  (local $x i64) (local $y i64)
  (local.set $x (call $input (i32.const 1024)))
  (local.set $y (call $input (i32.const 1040)))
  (if (i32.eqz (global.get $n)) (then (return (call $unary (i32.const 41) (local.get $y)))))
  (call $arg (i32.const 0) (local.get $x))
  (call $arg (i32.const 1) (local.get $x))
  (call $attr (i32.const 0) (f64.const 3))
  (if (i32.eq (global.get $n) (i32.const 1)) (then ;; rows
    (return (call $sum (call $op (i32.const 85) (i32.const 2) (i32.const 0))))))
  (if (i32.eq (global.get $n) (i32.const 2)) (then ;; one_hot
    (return (call $sum (call $op (i32.const 101) (i32.const 1) (i32.const 1))))))
  (if (i32.eq (global.get $n) (i32.const 3)) (then ;; floats and integers are equal
    (call $arg (i32.const 1) (local.get $y))
    (return (call $sum (call $op (i32.const 31) (i32.const 2) (i32.const 0))))))
  (call $sum (call $call (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
    (i32.const 1056) (i32.const 5))))
