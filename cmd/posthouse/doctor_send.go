package main

type doctorSendCmd struct{}
