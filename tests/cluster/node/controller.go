package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/workqueue"
)

const (
	greetingLabel  = "fsmasq.test/greeting"
	greetingObject = "greeting"
)

// runController keeps a ConfigMap with the label's text in each namespace that has the label, as controllers are usually
// written: informers, a queue, one leader. It runs in a pod.
func runController() error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "greeter", Namespace: os.Getenv("POD_NAMESPACE")},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: os.Getenv("POD_NAME")},
	}
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, ReleaseOnCancel: true,
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { reconcileAll(ctx, client) },
			OnStoppedLeading: func() {},
		},
	})
	return nil
}

func reconcileAll(ctx context.Context, client kubernetes.Interface) {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	defer queue.ShutDown()
	factory := informers.NewSharedInformerFactory(client, 0)
	namespaces := factory.Core().V1().Namespaces()
	changed := func(object any) {
		switch o := object.(type) {
		case *corev1.Namespace:
			queue.Add(o.Name)
		case *corev1.ConfigMap:
			queue.Add(o.Namespace)
		case cache.DeletedFinalStateUnknown:
			if key, _, err := cache.SplitMetaNamespaceKey(o.Key); err == nil {
				queue.Add(key)
			}
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, now any) { changed(now) }, DeleteFunc: changed,
	}
	for _, informer := range []cache.SharedIndexInformer{
		namespaces.Informer(), factory.Core().V1().ConfigMaps().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			fmt.Fprintf(os.Stderr, "controller: %v\n", err)
			return
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go func() {
		<-ctx.Done()
		queue.ShutDown()
	}()
	for {
		name, down := queue.Get()
		if down {
			return
		}
		if err := reconcile(ctx, client, namespaces.Lister().Get, name); err != nil {
			fmt.Fprintf(os.Stderr, "controller: namespace %s: %v\n", name, err)
			queue.AddRateLimited(name)
		} else {
			queue.Forget(name)
		}
		queue.Done(name)
	}
}

func reconcile(
	ctx context.Context, client kubernetes.Interface, get func(string) (*corev1.Namespace, error), name string,
) error {
	namespace, err := get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	greeting, wanted := namespace.Labels[greetingLabel]
	if !wanted || namespace.DeletionTimestamp != nil {
		return nil
	}
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: greetingObject, Namespace: name},
		Data:       map[string]string{"text": greeting},
	}
	maps := client.CoreV1().ConfigMaps(name)
	kept, err := maps.Get(ctx, greetingObject, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = maps.Create(ctx, object, metav1.CreateOptions{})
		return err
	case err != nil || kept.Data["text"] == greeting:
		return err
	}
	_, err = maps.Update(ctx, object, metav1.UpdateOptions{})
	return err
}
