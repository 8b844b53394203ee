;; Keeps a handle in a variable of its own, and uses it in the next step.
;; Must: the second step fails and says that handles live for one step.
(global $kept (mut i64) (i64.const 0))
(func $loss (param $instance i32) (result i64)
  (local $x i64)
  (local.set $x (call $input (i32.const 1024)))
  (if (i64.eqz (global.get $kept)) (then (global.set $kept (local.get $x))))
  (call $sum (global.get $kept)))
