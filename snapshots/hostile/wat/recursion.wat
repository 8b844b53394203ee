;; Calls itself without end.
;; Must: the component is stopped when its stack is used up; the host's own is untouched.
(func $deeper (param $x i64) (result i64)
  (i64.add (local.get $x) (call $deeper (i64.add (local.get $x) (i64.const 1)))))
(func $loss (param $instance i32) (result i64) (call $deeper (i64.const 0)))
