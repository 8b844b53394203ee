;; Has two losses of one name.
;; Must: it is refused.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":[{\"name\":\"attack\",\"doc\":\"Attacks the host.\"},{\"name\":\"attack\",\"doc\":\"Attacks the host.\"}]}")
