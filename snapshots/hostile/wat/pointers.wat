;; Hands the host lists and names that lie beyond its memory, are longer than it, or are misaligned.
;; Must: the component is stopped; the host reads nothing that isn't the component's.
(func $loss (param $instance i32) (result i64)
  (local $x i64)
  (local.set $x (call $input (i32.const 1024)))
  (call $arg (i32.const 0) (local.get $x))
  (if (i32.eqz (global.get $n)) (then ;; operands behind the end
    (return (call $call (i32.const 41) (i32.const -8) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
  (if (i32.eq (global.get $n) (i32.const 1)) (then ;; 2^31 operands
    (return (call $call (i32.const 41) (i32.const 0) (i32.const 0x7fffffff) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
  (if (i32.eq (global.get $n) (i32.const 2)) (then ;; attributes across the end
    (return (call $call (i32.const 27) (i32.const 66560) (i32.const 1) (i32.const 262136) (i32.const 2) (i32.const 0) (i32.const 0)))))
  (if (i32.eq (global.get $n) (i32.const 3)) (then ;; a name behind the end
    (return (call $call (i32.const 14) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 262144) (i32.const 16)))))
  (if (i32.eq (global.get $n) (i32.const 4)) (then ;; operands at an odd place
    (return (call $call (i32.const 41) (i32.const 66561) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
  ;; A shape to a place behind the end.
  (call $shape (local.get $x) (i32.const -4))
  (local.get $x))
