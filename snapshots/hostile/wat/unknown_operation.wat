;; Asks for operations that there aren't: 0, 999 and 2^32 - 1.
;; Must: the step fails and says that the host doesn't know the operation.
(func $loss (param $instance i32) (result i64)
  (call $arg (i32.const 0) (call $input (i32.const 1024)))
  (call $op
    (select (i32.const -1) (i32.mul (global.get $n) (i32.const 999)) (i32.eq (global.get $n) (i32.const 2)))
    (i32.const 1) (i32.const 0)))
