;; Names an input by bytes that are no UTF-8.
;; Must: the component is stopped.
(data (i32.const 1056) "\ff\fe\80\c0\af!")
(func $loss (param $instance i32) (result i64) (call $sum (call $input (i32.const 1056))))
