;; Gives operations none of their operands, one too few, three too many, and a million.
;; Must: the step fails and says what is wrong with the operands.
(func $loss (param $instance i32) (result i64)
  (local $x i64)
  (local.set $x (call $input (i32.const 1024)))
  (call $arg (i32.const 0) (local.get $x))
  (call $arg (i32.const 1) (local.get $x))
  (if (i32.eq (global.get $n) (i32.const 3)) (then
    (drop (memory.grow (i32.const 128)))))
  (call $sum (call $op
    (select (i32.const 41) (i32.const 20) (i32.eqz (global.get $n))) ;; exp, or add
    (select (i32.const 1000000)
      (select (i32.const 5) (global.get $n) (i32.eq (global.get $n) (i32.const 2)))
      (i32.eq (global.get $n) (i32.const 3)))
    (i32.const 0))))
