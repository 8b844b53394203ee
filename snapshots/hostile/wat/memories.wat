;; Has a hundred modules with a memory of 16 MiB each.
;; Must: it isn't started.
(core module $one (memory 256) (data (i32.const 0) "x"))
(repeat 100 (core instance (instantiate $one)))
