;; Refuses to make a loss, with a message that clears the terminal and turns its text around.
;; Must: the command fails, and no control character gets out.
(data (i32.const 1056) "no\1b[2J\1b]0;owned\07\e2\80\ae\c2\9b31m\00way")
(func $create (param i32 i32 i32 i32) (result i32)
  (i32.store (i32.const 16) (i32.const 1))
  (i32.store (i32.const 20) (i32.const 1056))
  (i32.store (i32.const 24) (i32.const 28))
  (i32.const 16))
