;; Says that it was built for interface 7, where the file says 1.
;; Must: it is refused.
(data $description (i32.const 65536) "{\"interface\":7,\"sdk\":\"by hand\",\"losses\":[{\"name\":\"attack\",\"doc\":\"Attacks the host.\"}]}")
