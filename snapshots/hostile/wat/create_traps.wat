;; Traps where it is to make a loss.
;; Must: the command fails.
(func $create (param i32 i32 i32 i32) (result i32) (unreachable))
