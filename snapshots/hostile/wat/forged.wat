;; Uses handles that the host never gave out: the next one, one of another step, 0, all bits, 1.
;; Must: the step fails and says that there is no such handle.
(func $loss (param $instance i32) (result i64)
  (local $x i64)
  (local.set $x (call $input (i32.const 1024)))
  (if (i32.eqz (global.get $n)) (then (local.set $x (i64.add (local.get $x) (i64.const 1)))))
  (if (i32.eq (global.get $n) (i32.const 1)) (then
    (local.set $x (i64.add (local.get $x) (i64.const 0x100000000)))))
  (if (i32.eq (global.get $n) (i32.const 2)) (then (local.set $x (i64.const 0))))
  (if (i32.eq (global.get $n) (i32.const 3)) (then (local.set $x (i64.const -1))))
  (if (i32.eq (global.get $n) (i32.const 4)) (then (local.set $x (i64.const 1))))
  (call $sum (local.get $x)))
