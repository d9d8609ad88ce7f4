// client URL REQUESTS CLIENTS PAUSE [shared]
//
// CLIENTS goroutines send REQUESTS requests in all, by POST, which is not repeated in silence, and read the answers. Between two of its
// requests each pauses: at random, PAUSE on average, as nobody's requests come by the clock. Each has a pool of its own unless they share one.
// Prints how many failed, and how.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const second = time.Second

func transport() *http.Transport {
	return &http.Transport{
		// SETTINGS
	}
}

func main() {
	url := os.Args[1]
	requests, clients := number(os.Args[2]), number(os.Args[3])
	pause, err := time.ParseDuration(os.Args[4])
	if err != nil {
		panic(err)
	}
	shared := transport()
	var lock sync.Mutex
	failures := map[string]int{}
	var wait sync.WaitGroup
	for number := 0; number < clients; number++ {
		client := &http.Client{Transport: shared, Timeout: 30 * second}
		if len(os.Args) < 6 {
			client.Transport = transport()
		}
		random := rand.New(rand.NewSource(int64(number) + 1))
		wait.Add(1)
		go func() {
			defer wait.Done()
			for left := requests / clients; left > 0; left-- {
				time.Sleep(time.Duration(random.ExpFloat64() * float64(pause)))
				if err := ask(client, url); err != nil {
					lock.Lock()
					failures[name(err)]++
					lock.Unlock()
				}
			}
		}()
	}
	wait.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{"requests": requests / clients * clients, "failures": failures})
}

func ask(client *http.Client, url string) error {
	answer, err := client.Post(url, "application/json", strings.NewReader(`{"action": "deckNames", "version": 6}`))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.ReadAll(answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

func name(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return "ECONNRESET"
	case errors.Is(err, syscall.EPIPE):
		return "EPIPE"
	case errors.Is(err, io.EOF):
		return "EOF"
	}
	// Without the addresses, which differ each time.
	parts := strings.Split(err.Error(), ": ")
	return strings.Join(parts[1:], ": ")
}

func number(text string) int {
	number, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return number
}
