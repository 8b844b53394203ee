;; Has two hyperparameters of one name.
;; Must: it is refused.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":[{\"name\":\"attack\",\"doc\":\"Attacks the host.\",\"hyper\":[{\"name\":\"n\",\"doc\":\"n\",\"kind\":\"integer\",\"default\":1},{\"name\":\"n\",\"doc\":\"n\",\"kind\":\"float\",\"default\":2.0}]}]}")
