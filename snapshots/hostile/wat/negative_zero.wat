;; Asks for the identity matrix of size -0, which is no negative number and no size either.
;; Must: the step fails and says that no dimension is 0.
(func $loss (param $instance i32) (result i64)
  (call $attr (i32.const 0) (f64.const -0))
  (call $sum (call $op (i32.const 102) (i32.const 0) (i32.const 1))))
