;; Executes what it says can't be reached, divides by zero, and loads from beyond its memory.
;; Must: the component is stopped.
(func $loss (param $instance i32) (result i64)
  (if (i32.eqz (global.get $n)) (then (unreachable)))
  (if (i32.eq (global.get $n) (i32.const 1)) (then
    (return (i64.div_u (i64.const 1) (i64.extend_i32_u (i32.sub (global.get $n) (i32.const 1)))))))
  (i64.load (i32.const -8)))
