;; Refuses to make a loss, with 10 MB of reasons.
;; Must: the command fails with a message of a readable length.
(func $create (param i32 i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 200)))
  (memory.fill (i32.const 131072) (i32.const 65) (i32.const 10000000))
  (i32.store (i32.const 16) (i32.const 1))
  (i32.store (i32.const 20) (i32.const 131072))
  (i32.store (i32.const 24) (i32.const 10000000))
  (i32.const 16))
