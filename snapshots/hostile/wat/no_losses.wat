;; Has no losses.
;; Must: it is refused.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":[]}")
