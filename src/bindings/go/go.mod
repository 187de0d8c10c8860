module oncelog.dev/oncelog

go 1.19
